"""Named parts of a picture: they replace simple masks, and an infotext can contain them."""

ANYWHERE = "anywhere"
"""The choice without a region."""

REGIONS: dict[str, tuple[float, float, float, float]] = {
    "left half": (0, 0, 1 / 2, 1),
    "right half": (1 / 2, 0, 1, 1),
    "left third": (0, 0, 1 / 3, 1),
    "middle third": (1 / 3, 0, 2 / 3, 1),
    "right third": (2 / 3, 0, 1, 1),
    "upper half": (0, 0, 1, 1 / 2),
    "lower half": (0, 1 / 2, 1, 1),
}
"""Left, top, right and bottom as shares of the picture's width and height."""
