"""The miniature of SDXL and UniID: narrow networks in the published layouts, trained on a GPU in minutes."""
