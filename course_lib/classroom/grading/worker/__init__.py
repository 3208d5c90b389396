"""What runs inside the sandbox. It knows no answers."""
