"""Networks: a frozen description, its initialization by name, and the torch module it samples."""

from ntkscope.networks.initialization import register_initialization
from ntkscope.networks.network import Network

__all__ = ["Network", "register_initialization"]
