"""What a node says on /diagnostics."""


def reports_of(name, arrays, wanted):
    """(level, message, values) of those reports of a node that are wanted; the arrays are taken out."""
    found = []
    while arrays:
        for status in arrays.pop(0).status:
            values = {v.key: v.value for v in status.values}
            if f"/{status.name}" == name and wanted(status.message, values):
                found.append((int.from_bytes(status.level, "little"), status.message, values))
    return found
