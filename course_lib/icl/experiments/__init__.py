"""What lessons and reference results measure with in-context learning."""
