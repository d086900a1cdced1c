"""The pages of admins: keys, tenants, roles, policies, audit."""

from console.pages.admin import audit, keys, policies, roles, tenants
from console.web import Page

PAGES: tuple[Page, ...] = (*tenants.PAGES, *keys.PAGES, *roles.PAGES, *policies.PAGES, *audit.PAGES)
