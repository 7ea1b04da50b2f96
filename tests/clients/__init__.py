"""The real clients, as other people made them: where tools/setup put them, and how the tests drive them."""
