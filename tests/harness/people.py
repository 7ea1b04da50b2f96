"""Users, service principals and groups as an administrator makes them, and the API as each of them sees it."""

from harness.rest import Rest

SCIM = "/api/2.0/preview/scim/v2/"
PERMISSIONS = "/api/2.0/permissions/database-projects/"


class People:
    def __init__(self, platform):
        self.platform, self.admin = platform, platform.rest

    def make(self, collection, **attributes):
        return self.admin.call("POST", SCIM + collection, attributes)

    def make_group(self, name, *members):
        return self.make("Groups", displayName=name, members=[{"value": m["id"]} for m in members])

    def find_group(self, name):
        answer = self.admin.call("GET", SCIM + "Groups", filter=f'displayName eq "{name}"')
        assert answer["totalResults"] == 1
        return answer["Resources"][0]

    def patch_group(self, group, op, *members):
        value = [{"value": m["id"]} for m in members]
        body = {"Operations": [{"op": op, "path": "members", "value": value}]}
        return self.admin.call("PATCH", f"{SCIM}Groups/{group['id']}", body)

    def robot(self, name="robot"):
        """A new service principal, and the API as it sees it."""
        principal = self.make("ServicePrincipals", displayName=name)
        answer = self.admin.call(
            "POST", "/api/2.0/token-management/on-behalf-of/tokens", {"application_id": principal["applicationId"]})
        return principal, Rest(self.platform.host, answer["token_value"])

    def secret_of(self, principal, **body):
        """A client secret of a service principal."""
        path = f"/api/2.0/accounts/servicePrincipals/{principal['id']}/credentials/secrets"
        return self.admin.call("POST", path, body)

    def grant(self, project, level, *principals, rest=None):
        """Adds to the permissions: principals are what make() answered."""
        entries = []
        for one in principals:
            key = "user_name" if "userName" in one else "service_principal_name" if "applicationId" in one else "group_name"
            name = one.get("userName") or one.get("applicationId") or one["displayName"]
            entries.append({key: name, "permission_level": level})
        return (rest or self.admin).call("PATCH", PERMISSIONS + project, {"access_control_list": entries})
