"""What lessons and reference results measure with SMART."""
