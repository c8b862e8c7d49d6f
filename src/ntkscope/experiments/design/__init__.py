"""What a settings file asks for: expressions ← settings; trial, points ← both."""
