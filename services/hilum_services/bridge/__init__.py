"""The bridge: what Label Studio asks of the store (pictures), and what it tells it (webhooks)."""
