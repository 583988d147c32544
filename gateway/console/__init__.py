"""The Console: pages for people, over the admin API.

Owns: logins and sessions, the pages at `/console`, what a browser is allowed to do with
them. Never: changes anything itself. Every change goes through `AdminApi.handle` as
whoever is logged in, so it is checked, recorded and refused like any other.
"""
