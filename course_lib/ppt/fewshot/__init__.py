"""Few examples of a task: the paper's protocol, its methods, and their results."""
