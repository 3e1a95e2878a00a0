"""The ASGI application: Django behind Channels' protocol router."""

import os

from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application

from trainmon.pacing import Paced

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trainmon.settings")
# The site keeps connections: each request would otherwise wait for a new one.
os.environ.setdefault("TRAINMON_DB_POOL", "10")

application = ProtocolTypeRouter({"http": Paced(get_asgi_application())})
