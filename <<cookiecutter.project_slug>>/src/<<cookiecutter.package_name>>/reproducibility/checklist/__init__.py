"""The review checklist: each item with the evidence for it, or with what is in its way and how to get that out."""
