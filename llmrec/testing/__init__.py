"""What people who write their own component need to test it: contract suites, tiny data, tiny models."""

__all__: list[str] = []
