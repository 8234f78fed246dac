"""Updates of the whole system in the other of two slots: found, fetched, handed to RAUC, tried, kept or taken back.

Pure: ``versions channel staging record health idle``. At work: ``download`` (HTTPS), ``rauc`` (slots and signatures),
``daemon`` (asks the running appliance), ``updater`` (install and arm), ``trial`` (is the new slot to be kept),
``commands``. A process of its own, with rights of its own: the daemon imports nothing of this.
"""
