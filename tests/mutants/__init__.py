"""Small wrong changes to the code, each with the tests that must notice it."""
