"""The request that every door takes: its fields, its infotext, and the identities that it names."""
