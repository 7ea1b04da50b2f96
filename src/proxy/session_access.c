#include "proxy/session_access.h"

#include <stdlib.h>

#include "base/text_map.h"
#include "proxy/client_session_internal.h"

#define WHY "the IP access lists have changed: this address is not let in any more"

/* An address that control is asked about. */
struct asked {
	struct text_link link;
	bool is_denied;
	char address[INET6_ADDRSTRLEN];
};

struct session_access {
	struct session_home *home;
	struct control_question *question; /* about `asked` */
	struct text_map map;
	struct asked *asked;
	const char **addresses;
	size_t count;
	bool is_due; /* sessions are left that have to be asked about */
};

struct session_access *session_access_create(struct session_home *home)
{
	struct session_access *access = xcalloc(1, sizeof *access);
	access->home = home;
	return access;
}

static void forget_asked(struct session_access *access)
{
	for (size_t i = 0; i < access->count; i++)
		text_map_remove(&access->map, &access->asked[i].link);
	access->count = 0;
	free(TAKE_PTR(access->asked));
	free(TAKE_PTR(access->addresses));
	text_map_done(&access->map);
}

void session_access_stop(struct session_access *access)
{
	control_question_cancel(TAKE_PTR(access->question));
	forget_asked(access);
	access->is_due = false;
}

struct session_access *session_access_free(struct session_access *access)
{
	if (access)
		session_access_stop(access);
	free(access);
	return NULL;
}

static bool must_be_asked(const struct session_access *access, const struct client_session *s)
{
	return s->access_round != access->home->access_round && !s->is_local;
}

/* Writes the addresses down that have not been asked about in this round. */
static void collect(struct session_access *access)
{
	access->asked = xcalloc(ACCESS_ADDRESSES_MAX, sizeof *access->asked);
	access->addresses = xcalloc(ACCESS_ADDRESSES_MAX, sizeof *access->addresses);
	for (struct client_session *s = access->home->first; s && access->count < ACCESS_ADDRESSES_MAX;
	        s = s->next) {
		if (!must_be_asked(access, s) || text_map_find(&access->map, s->address))
			continue;
		struct asked *asked = &access->asked[access->count];
		memcpy(asked->address, s->address, sizeof asked->address);
		text_map_add(&access->map, &asked->link, asked->address);
		access->addresses[access->count++] = asked->address;
	}
}

static void end_denied(struct session_access *access)
{
	struct session_home *home = access->home;
	struct refusal refusal;
	struct client_session *next;
	refusal_address(&refusal, WHY);
	for (struct client_session *s = home->first; s; s = next) {
		next = s->next;
		struct text_link *link =
		        must_be_asked(access, s) ? text_map_find(&access->map, s->address) : NULL;
		if (!link)
			continue;
		s->access_round = home->access_round;
		if (!TEXT_MAP_THING(link, struct asked, link)->is_denied)
			continue;
		/* Before its route was asked for a session will be asked about then; in the relay nothing can be said. */
		if (s->state >= SESSION_ROUTING && s->state < SESSION_GREETING)
			session_refuse(s, &refusal);
		else if (s->state == SESSION_RELAYING)
			session_say_goodbye(s, WHY);
		else if (s->state == SESSION_GREETING)
			session_end(s, WHY);
	}
}

static void ask(struct session_access *access);

static void on_answer(void *owner, const struct control_answer *answer)
{
	struct session_access *access = owner;
	const char *address;
	access->question = NULL;
	if (answer->kind == CONTROL_OK) {
		for (size_t i = 0; (address = control_answer_denied(answer, i)); i++) {
			struct text_link *link = text_map_find(&access->map, address);
			if (link)
				TEXT_MAP_THING(link, struct asked, link)->is_denied = true;
		}
		end_denied(access);
		forget_asked(access);
		ask(access); /* about those that did not fit */
	} else {
		forget_asked(access);
		access->is_due = true;
	}
}

static void ask(struct session_access *access)
{
	access->is_due = false;
	collect(access);
	if (access->count > 0)
		access->question = control_ask_access(
		        access->home->control, access->addresses, access->count, on_answer, access);
	else
		forget_asked(access);
}

void session_access_note_change(struct session_access *access)
{
	access->home->access_round++;
	control_question_cancel(TAKE_PTR(access->question)); /* it may be about how things were */
	forget_asked(access);
	ask(access);
}

void session_access_look(struct session_access *access)
{
	if (access->is_due && !access->question)
		ask(access);
}
