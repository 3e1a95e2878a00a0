"""How trainmon itself stands: /healthz, /readyz and /metrics, answered beside Django (docs/operations.md, "Health")."""
