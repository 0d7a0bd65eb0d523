"""The node that runs any pipeline, messages, bags and launch description."""
