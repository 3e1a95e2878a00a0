"""The ASGI application: Django behind Channels' protocol router."""

import gc
import os

import django
from channels.routing import ProtocolTypeRouter

from trainmon.absent import absent
from trainmon.bodies import Bounded
from trainmon.correlated import Correlated
from trainmon.pacing import Paced

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trainmon.settings")
os.environ.setdefault("TRAINMON_SERVICE", "web")
# The site keeps connections: each request would otherwise wait for a new one.
os.environ.setdefault("TRAINMON_DB_POOL", "10")

django.setup(set_prefix=False)
# REST framework and Django load these for pages, clients and templates that we do not have: 10 MB
with absent("requests", "markdown", "pygments", "jinja2"):
    import rest_framework.compat
    import rest_framework.test  # noqa: F401

from streaming.routing import sockets  # noqa: E402  Django is set up by now
from streaming.tensorboard.proxy import Proxy  # noqa: E402
from trainmon.answering import Answering  # noqa: E402
from trainmon.assets import Assets  # noqa: E402
from trainmon.health.probes import Probes  # noqa: E402

# Paced comes first: it looks at daphne's own send; probes ask each few seconds, and are in no log
application = Paced(Probes(Correlated(ProtocolTypeRouter({"http": Assets(Proxy(Bounded(Answering()))), "websocket": sockets}))))
# What is loaded now stays: going through it again and again for garbage would hold up a request for 70 ms.
gc.collect()
gc.freeze()
