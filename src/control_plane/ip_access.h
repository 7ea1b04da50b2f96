/*
 * IP access: from which addresses this Tarn may be reached, as its IP access lists say (decision 23): first the block lists, then, if there is
 * one, the allow lists. Only lists that are enabled count, and none unless the workspace setting enableIpAccessLists is "true".
 *
 * Invariants
 *   A1  what is decided by is what was committed last: whoever changes rows calls ip_access_change() in that transaction.
 *   A2  this machine itself is always let in: whoever runs Tarn cannot lock himself out.
 *   A3  nobody can make a change through the API that would lock out the address that he calls from; nor, while lists do not count, one that would
 *       once they did, unless that was so before.
 *   A4  an address that is not known (a proxy in front that does not say whom it speaks for) is let in only while nothing is enforced.
 * Threads: the loop's.
 */
#pragma once

#include "control_plane/call.h"

#define IP_ACCESS_SETTING "enableIpAccessLists"
#define IP_ACCESS_MAX     1000 /* addresses and ranges of all lists together */

struct ip_access;

/* Reads the rows. on_change comes after each change that was committed; NULL: nobody wants to know. */
MUST_CHECK status ip_access_open(struct metadata *md, void (*on_change)(void *owner), void *owner,
        struct ip_access **ret, struct error *err);
struct ip_access *ip_access_free(struct ip_access *access); /* NULL is fine; always NULL */

/* address as text; NULL or "": not known. access NULL (tests): everybody. */
bool ip_access_allows(const struct ip_access *access, const char *address);

/*
 * Where a call comes from: the peer, or whom a proxy on this machine says that it speaks for (the last address of X-Forwarded-For, which is the one
 * that the proxy itself has seen). "": it does not say.
 */
void ip_access_address(const struct http_request *request, char ret[HTTP_PEER_MAX + 1]);
/* False after having filled call->error: 403. */
bool ip_access_check_call(struct call *call);
/* "Source IP address: … is blocked by …"; `address` as above. */
void ip_access_describe(const struct services *services, const char *address, char *ret, size_t size);

/*
 * Within the transaction that has changed lists or the setting: takes the new rules over, or fails because the caller would be locked out
 * (INVALID_STATE) or there are too many addresses (QUOTA_EXCEEDED). On success it has committed.
 */
bool ip_access_change(struct call *call, struct transaction *tx);
