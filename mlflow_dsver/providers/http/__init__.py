"""The HTTP client of providers: sessions with timeouts and retries, JSON bodies, bounded downloads."""
