"""The judge: a submission runs in a sandbox, and only the values it returns for hidden inputs earn marks."""
