"""What tests of programs that use Icechunk can use: a storage with faults."""
