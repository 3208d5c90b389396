"""Right calls of the public functions, a file a room: `calls()` returns its `Call`s."""
