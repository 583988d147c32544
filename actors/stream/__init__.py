"""Stream: owns one request from plan to record.

messages.py is its interface, actor.py its life: read it top to bottom to have seen the
product. attempt.py is one call of one deployment, relay.py its answer on the way to the
client, hooks/ what may see and edit it.
"""
