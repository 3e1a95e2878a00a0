"""A second reading of the files, with TensorBoard's own classes, beside what the registry holds.

Nothing here uses the readers that a sync uses: framing, parts and values are worked out anew,
one record at a time.  Only the redaction and the codec of chunks are shared.
"""
