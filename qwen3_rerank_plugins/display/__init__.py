"""What people see of results, for more than one part of the package."""
