"""Key management services: one file each, all of them `actors.vault.ports.Kms`."""
