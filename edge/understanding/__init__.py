"""What a model looks at, and how it treats groups, with numpy alone."""
