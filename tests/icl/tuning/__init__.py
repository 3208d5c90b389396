"""Tests of the tuning of siblings."""
