"""Pre-training of soft prompts on plain text: its examples, its tasks, and the prompts that are shipped."""
