"""A trained method on any images: batches, tiles, styles, files."""
