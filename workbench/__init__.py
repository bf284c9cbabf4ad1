"""Governance and audit workbench for the order management system of a digital-asset desk."""
