"""A page that says where it runs."""
