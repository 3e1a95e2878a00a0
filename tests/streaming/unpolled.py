"""The site, which hardly looks for changes by itself: what its pages show in time came over the bus."""

from __future__ import annotations

import trainmon.asgi
from streaming import hub

hub.POLL = 60.0
application = trainmon.asgi.application
