"""Images between bytes and arrays: decoding, encoding, videos, labelled pictures."""
