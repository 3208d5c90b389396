"""Where a submission runs: isolated, limited and watched."""
