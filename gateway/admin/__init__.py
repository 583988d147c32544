"""The admin API: what an operator, the Console and the CLI can ask and change.

Owns: `/admin/v1`, from one definition an operation (operation.py) to what serves it
(api.py) and what describes it (openapi.py). Never: decides policy. It validates, asks
actors and the directory, and sees that each change is in the audit log before it
happens.
"""
