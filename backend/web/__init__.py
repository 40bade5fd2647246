"""The web process: what Label Studio and browsers ask over HTTP, on Falcon."""
