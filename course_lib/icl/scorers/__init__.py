"""Log-probabilities of labels behind a prompt, from a local model or from a server."""
