/* Extension databricks_auth of Tarn: docs/decisions/0013-databricks-auth.md */
\echo Use "CREATE EXTENSION databricks_auth" to load this file. \quit

/* Names are looked up here only: the extension's schema may be a tenant's, and this runs as superuser. */
SET LOCAL search_path = pg_catalog, pg_temp;

/*
 * CREATE ROLE … LOGIN for an identity, in the name of the caller: whoever may create roles may, and gets ADMIN on the new one. Beyond that it does
 * what only a superuser can: it makes the role a member of a marker role.
 */
CREATE FUNCTION @extschema@.databricks_create_role(identity_name text, identity_type text) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
	marker CONSTANT name := CASE upper(identity_type)
		WHEN 'USER' THEN 'databricks_identity_user'
		WHEN 'SERVICE_PRINCIPAL' THEN 'databricks_identity_service_principal'
		WHEN 'GROUP' THEN 'databricks_identity_group' END;
	/* current_user is the function's owner; SET ROLE is impossible in here, so this is the caller's. */
	caller CONSTANT name := coalesce(nullif(current_setting('role'), 'none'), session_user);
	caller_is_superuser bool;
BEGIN
	SELECT rolsuper INTO caller_is_superuser FROM pg_roles
		WHERE rolname = caller AND pg_has_role(session_user, oid, 'SET')
		AND (rolsuper OR rolcreaterole OR pg_has_role(oid, 'databricks_superuser', 'USAGE'));
	IF caller_is_superuser IS NULL THEN
		RAISE insufficient_privilege USING MESSAGE = 'permission denied to create role',
			DETAIL = 'Only roles with the CREATEROLE attribute and members of databricks_superuser may create roles.';
	END IF;
	IF identity_name IS NULL OR identity_name = '' THEN
		RAISE invalid_name USING MESSAGE = 'the name of the identity must not be empty';
	END IF;
	IF marker IS NULL THEN
		RAISE invalid_parameter_value USING
			MESSAGE = format('%s is not a type of identity', coalesce(quote_literal(identity_type), 'NULL')),
			HINT = 'Types are USER, SERVICE_PRINCIPAL and GROUP.';
	END IF;
	IF octet_length(identity_name) > 63 THEN
		RAISE name_too_long USING MESSAGE = 'the name of the identity is too long',
			DETAIL = 'Names of roles have at most 63 bytes.';
	END IF;
	IF identity_name ~ '[[:cntrl:]]' THEN
		RAISE invalid_name USING MESSAGE = 'the name of the identity has a control character in it';
	END IF;
	IF identity_name ~ '^(pg_|databricks_)' OR identity_name IN ('cloud_admin', 'public', 'none') THEN
		RAISE reserved_name USING MESSAGE = format('role name "%s" is reserved', identity_name);
	END IF;

	/* A branch of an older version may not have its markers yet. */
	IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = marker) THEN
		EXECUTE format('CREATE ROLE %I NOLOGIN', marker);
	END IF;
	EXECUTE format('CREATE ROLE %I LOGIN', identity_name);
	EXECUTE format('GRANT %I TO %I WITH ADMIN FALSE, INHERIT FALSE, SET FALSE', marker, identity_name);
	IF NOT caller_is_superuser THEN
		EXECUTE format('GRANT %I TO %I WITH ADMIN TRUE, INHERIT FALSE, SET FALSE', identity_name, caller);
	END IF;
END $function$;

COMMENT ON FUNCTION @extschema@.databricks_create_role(text, text) IS
	'creates the role of an identity: its name, and USER, SERVICE_PRINCIPAL or GROUP';

CREATE VIEW @extschema@.databricks_list_roles AS
	SELECT r.rolname::text AS role_name, substr(m.rolname, length('databricks_identity_') + 1) AS identity_type
	FROM pg_roles m JOIN pg_auth_members a ON a.roleid = m.oid JOIN pg_roles r ON r.oid = a.member
	WHERE m.rolname IN ('databricks_identity_user', 'databricks_identity_service_principal', 'databricks_identity_group');

GRANT SELECT ON @extschema@.databricks_list_roles TO PUBLIC;

COMMENT ON VIEW @extschema@.databricks_list_roles IS 'roles of identities, and of which type these are';
