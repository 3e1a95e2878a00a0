"""A TensorBoard for each trainer: kept running apart from all else (supervisor), reached behind our sign-in (proxy)."""
