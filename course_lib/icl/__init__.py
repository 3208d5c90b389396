"""Chapter 4: the inductive bias of in-context learning, measured by h-accuracy."""
