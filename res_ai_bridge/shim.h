/*
 * What Rust cannot say in Asterisk's language: macros, variadic functions and static structures.
 * No logic lives here. `ai_shim_*` is offered to Rust, `res_ai_bridge_*` is written in Rust.
 */
#ifndef RES_AI_BRIDGE_SHIM_H
#define RES_AI_BRIDGE_SHIM_H

#include "asterisk.h"
#include "asterisk/ast_version.h"
#include "asterisk/astobj2.h"
#include "asterisk/callerid.h"
#include "asterisk/causes.h"
#include "asterisk/cdr.h"
#include "asterisk/channel.h"
#include "asterisk/chanvars.h"
#include "asterisk/cli.h"
#include "asterisk/config.h"
#include "asterisk/format.h"
#include "asterisk/format_cache.h"
#include "asterisk/frame.h"
#include "asterisk/logger.h"
#include "asterisk/manager.h"
#include "asterisk/module.h"
#include "asterisk/options.h"
#include "asterisk/paths.h"
#include "asterisk/pbx.h"
#include "asterisk/stasis_channels.h"
#include "asterisk/utils.h"

/* Written in Rust. */
int res_ai_bridge_load(void);
int res_ai_bridge_unload(void);
int res_ai_bridge_reload(void);
int res_ai_bridge_exec(struct ast_channel *channel, const char *arguments);
int res_ai_bridge_assist(struct ast_channel *channel, const char *arguments);
int res_ai_bridge_stop_assist(struct ast_channel *channel, const char *arguments);
/* A frame of a tapped channel, with the channel locked: `own` of its own party, else of what that hears. Answers AI_TAP_… */
enum ai_shim_tap_answer { AI_TAP_OFF, AI_TAP_ON, AI_TAP_REFRESH };
int res_ai_bridge_tap_frame(void *tap, int own, const int16_t *samples, size_t count, unsigned int rate, int bridged, int music);
/* The session's id; 0 if it is over. With the channel locked. */
int res_ai_bridge_tap_session(void *tap, char *id, size_t size);
/* Asterisk has put it on another channel, which is locked. */
void res_ai_bridge_tap_moved(void *tap, struct ast_channel *channel);
/* The dialplan takes it off. With the channel locked. */
void res_ai_bridge_tap_dismissed(void *tap);
/* Nothing refers to it any more. */
void res_ai_bridge_tap_over(void *tap);
char *res_ai_bridge_cli_show_sessions(struct ast_cli_entry *entry, int command, struct ast_cli_args *arguments);
char *res_ai_bridge_cli_show_session(struct ast_cli_entry *entry, int command, struct ast_cli_args *arguments);
char *res_ai_bridge_cli_show_profiles(struct ast_cli_entry *entry, int command, struct ast_cli_args *arguments);
char *res_ai_bridge_cli_stop(struct ast_cli_entry *entry, int command, struct ast_cli_args *arguments);
char *res_ai_bridge_cli_show_stats(struct ast_cli_entry *entry, int command, struct ast_cli_args *arguments);
char *res_ai_bridge_cli_send(struct ast_cli_entry *entry, int command, struct ast_cli_args *arguments);
char *res_ai_bridge_cli_say(struct ast_cli_entry *entry, int command, struct ast_cli_args *arguments);
char *res_ai_bridge_cli_context(struct ast_cli_entry *entry, int command, struct ast_cli_args *arguments);
char *res_ai_bridge_cli_hold(struct ast_cli_entry *entry, int command, struct ast_cli_args *arguments);
char *res_ai_bridge_cli_resume(struct ast_cli_entry *entry, int command, struct ast_cli_args *arguments);
char *res_ai_bridge_cli_dial(struct ast_cli_entry *entry, int command, struct ast_cli_args *arguments);
char *res_ai_bridge_cli_show_calls(struct ast_cli_entry *entry, int command, struct ast_cli_args *arguments);
char *res_ai_bridge_cli_hangup(struct ast_cli_entry *entry, int command, struct ast_cli_args *arguments);
char *res_ai_bridge_cli_test(struct ast_cli_entry *entry, int command, struct ast_cli_args *arguments);
int res_ai_bridge_ami_sessions(struct mansession *client, const struct message *action);
int res_ai_bridge_ami_stop(struct mansession *client, const struct message *action);
int res_ai_bridge_ami_send(struct mansession *client, const struct message *action);
int res_ai_bridge_ami_say(struct mansession *client, const struct message *action);
int res_ai_bridge_ami_context(struct mansession *client, const struct message *action);
int res_ai_bridge_ami_hold(struct mansession *client, const struct message *action);
int res_ai_bridge_ami_resume(struct mansession *client, const struct message *action);
int res_ai_bridge_ami_dial(struct mansession *client, const struct message *action);
int res_ai_bridge_ami_hangup(struct mansession *client, const struct message *action);

/* Offered to Rust. */
extern const int ai_shim_load_success;
extern const int ai_shim_load_decline;

int ai_shim_register_applications(void);
void ai_shim_unregister_applications(void);
int ai_shim_register_cli(int with_tests);
void ai_shim_unregister_cli(int with_tests);
void ai_shim_log(int level, const char *file, int line, const char *function, const char *text);
void ai_shim_verbose(int level, const char *file, int line, const char *function, const char *text);
void ai_shim_cli(int fd, const char *text);
int ai_shim_cli_complete(const char *word);
int ai_shim_register_ami(void);
void ai_shim_unregister_ami(void);
void ai_shim_ami_append(struct mansession *client, const char *text);
void ai_shim_ami_error(struct mansession *client, const struct message *action, const char *text);
void ai_shim_ami_event(int privileges, const char *event, const char *headers);
void ai_shim_register_thread(const char *name);
/* Fills `number`, of `size` bytes, with the caller's number; with nothing if there is none. */
void ai_shim_caller_number(struct ast_channel *channel, char *number, size_t size);
/* A new channel that can speak everything, or NULL and the Q.850 cause. `second_id` is for a Local channel's other half. */
struct ast_channel *ai_shim_request(const char *technology, const char *resource, const char *id, const char *second_id, int *cause);
/* Makes it an originated call, from `number` unless that is empty. */
void ai_shim_call_from(struct ast_channel *channel, const char *number);
/* The Q.850 cause, and what the driver says of it ("SIP 486 Busy here") as far as `size` bytes allow. */
void ai_shim_cause(struct ast_channel *channel, int *q850, char *code, size_t size);
int ai_shim_is_forwarded(struct ast_channel *channel);
void ai_shim_go_to(struct ast_channel *channel, const char *context, const char *extension);
void ai_shim_hold_channel(struct ast_channel *channel);
void ai_shim_release_channel(struct ast_channel *channel);
/* While it is held the module is not unloaded, unless by force. */
void ai_shim_hold_module(void);
void ai_shim_release_module(void);
/* What this thread logs has a call's number from now on. */
void ai_shim_follow_log(void);
/* Formats are replaced under the channel's lock: each answer is a reference of the caller's own, or NULL. */
struct ast_format *ai_shim_phone_format(struct ast_channel *channel);
struct ast_format *ai_shim_read_format(struct ast_channel *channel);
struct ast_format *ai_shim_write_format(struct ast_channel *channel);
/* A channel without a line, locked by nobody, with a copy of the call's variables; NULL when there is no memory. */
struct ast_channel *ai_shim_surrogate(struct ast_channel *call, const char *session, unsigned int number);
void ai_shim_caller(struct ast_channel *channel, char *number, char *name, size_t size);
/* Fills `number`, of `size` bytes, with the number of whom the channel is connected with; with nothing if there is none. */
void ai_shim_connected_number(struct ast_channel *channel, char *number, size_t size);
/* Taps a channel. `tap` is Rust's; res_ai_bridge_tap_over() gets it back, at once if this fails. 0: done. */
int ai_shim_tap(struct ast_channel *channel, void *tap);
/* Takes every tap off. */
void ai_shim_untap(struct ast_channel *channel);
/* Fills `id`, of `size` bytes, with the session of the channel's tap. 0: there is none that listens. */
int ai_shim_tapped(struct ast_channel *channel, char *id, size_t size);
/* Fills `value`, of `size` bytes, with a channel variable; with nothing if there is none. */
void ai_shim_variable(struct ast_channel *channel, const char *variable, char *value, size_t size);
int ai_shim_register_surrogates(void);
void ai_shim_unregister_surrogates(void);

#endif
