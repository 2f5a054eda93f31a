"""What the tests use to run hostbuild as a user does, and to look at its work with other people's eyes."""
