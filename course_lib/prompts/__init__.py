"""What stands in a prompt, for every chapter that writes one."""
