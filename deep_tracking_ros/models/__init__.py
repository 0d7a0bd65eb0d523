"""Model folders: cards, weights, where they lie."""
