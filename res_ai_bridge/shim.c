#include "shim.h"

#include "asterisk/audiohook.h"
#include "asterisk/buildopts.h"
#include "asterisk/datastore.h"

/*** MODULEINFO
	<support_level>extended</support_level>
 ***/

const int ai_shim_load_success = AST_MODULE_LOAD_SUCCESS;
const int ai_shim_load_decline = AST_MODULE_LOAD_DECLINE;

static struct ast_cli_entry cli[] = {
	AST_CLI_DEFINE(res_ai_bridge_cli_show_sessions, "Show the calls that talk to an AI"),
	AST_CLI_DEFINE(res_ai_bridge_cli_show_session, "Show one of them with its latencies"),
	AST_CLI_DEFINE(res_ai_bridge_cli_show_profiles, "Show the profiles of ai_bridge.conf"),
	AST_CLI_DEFINE(res_ai_bridge_cli_show_stats, "Show what all AI sessions so far come to"),
	AST_CLI_DEFINE(res_ai_bridge_cli_say, "Have an agent say something"),
	AST_CLI_DEFINE(res_ai_bridge_cli_send, "Press keys for the phone"),
	AST_CLI_DEFINE(res_ai_bridge_cli_context, "Let an agent know something"),
	AST_CLI_DEFINE(res_ai_bridge_cli_hold, "Hold an agent"),
	AST_CLI_DEFINE(res_ai_bridge_cli_resume, "Let a held agent go on"),
	AST_CLI_DEFINE(res_ai_bridge_cli_dial, "Call somebody for an agent"),
	AST_CLI_DEFINE(res_ai_bridge_cli_show_calls, "Show the calls that were made for agents"),
	AST_CLI_DEFINE(res_ai_bridge_cli_hangup, "Hang such a call up"),
	AST_CLI_DEFINE(res_ai_bridge_cli_stop, "End an AI session, or all of them"),
	/* Last, so that it can be left out. */
	AST_CLI_DEFINE(res_ai_bridge_cli_test, "Make something go wrong on purpose"),
};

static int cli_count(int with_tests)
{
	return ARRAY_LEN(cli) - (with_tests ? 0 : 1);
}

static const struct {
	const char *name;
	int (*function)(struct ast_channel *channel, const char *arguments);
} applications[] = {
	{ "AI", res_ai_bridge_exec },
	{ "AIAssist", res_ai_bridge_assist },
	{ "StopAIAssist", res_ai_bridge_stop_assist },
};

static void unregister_applications(size_t count)
{
	for (size_t i = 0; i < count; i++) {
		ast_unregister_application(applications[i].name);
	}
}

int ai_shim_register_applications(void)
{
	for (size_t i = 0; i < ARRAY_LEN(applications); i++) {
		if (ast_register_application_xml(applications[i].name, applications[i].function)) {
			/* One of that name is another module's, and stays. */
			unregister_applications(i);
			return -1;
		}
	}
	return 0;
}

void ai_shim_unregister_applications(void)
{
	unregister_applications(ARRAY_LEN(applications));
}

int ai_shim_register_cli(int with_tests)
{
	return ast_cli_register_multiple(cli, cli_count(with_tests));
}

void ai_shim_unregister_cli(int with_tests)
{
	ast_cli_unregister_multiple(cli, cli_count(with_tests));
}

void ai_shim_log(int level, const char *file, int line, const char *function, const char *text)
{
	ast_log(level, file, line, function, "%s\n", text);
}

void ai_shim_verbose(int level, const char *file, int line, const char *function, const char *text)
{
	__ast_verbose(file, line, function, level, "%s\n", text);
}

void ai_shim_cli(int fd, const char *text)
{
	ast_cli(fd, "%s", text);
}

int ai_shim_cli_complete(const char *word)
{
	return ast_cli_completion_add(ast_strdup(word));
}

/* To control a call takes the class that hanging it up takes; to look at it, that or the one for reports. */
static const struct {
	const char *name;
	int privileges;
	int (*function)(struct mansession *client, const struct message *action);
} actions[] = {
	{ "AISessions", EVENT_FLAG_CALL | EVENT_FLAG_REPORTING, res_ai_bridge_ami_sessions },
	{ "AIStop", EVENT_FLAG_CALL, res_ai_bridge_ami_stop },
	{ "AISay", EVENT_FLAG_CALL, res_ai_bridge_ami_say },
	{ "AISend", EVENT_FLAG_CALL, res_ai_bridge_ami_send },
	{ "AIContext", EVENT_FLAG_CALL, res_ai_bridge_ami_context },
	{ "AIHold", EVENT_FLAG_CALL, res_ai_bridge_ami_hold },
	{ "AIResume", EVENT_FLAG_CALL, res_ai_bridge_ami_resume },
	{ "AIDial", EVENT_FLAG_ORIGINATE, res_ai_bridge_ami_dial },
	{ "AIHangup", EVENT_FLAG_CALL, res_ai_bridge_ami_hangup },
};

int ai_shim_register_ami(void)
{
	int failed = 0;
	for (size_t i = 0; i < ARRAY_LEN(actions); i++) {
		failed |= ast_manager_register_xml(actions[i].name, actions[i].privileges, actions[i].function);
	}
	return failed;
}

void ai_shim_unregister_ami(void)
{
	for (size_t i = 0; i < ARRAY_LEN(actions); i++) {
		ast_manager_unregister(actions[i].name);
	}
}

void ai_shim_ami_append(struct mansession *client, const char *text)
{
	astman_append(client, "%s", text);
}

void ai_shim_ami_error(struct mansession *client, const struct message *action, const char *text)
{
	astman_send_error_va(client, action, "%s", text);
}

void ai_shim_ami_event(int privileges, const char *event, const char *headers)
{
	manager_event(privileges, event, "%s", headers);
}

void ai_shim_register_thread(const char *name)
{
	ast_register_thread(ast_strdup(name));
}

void ai_shim_caller_number(struct ast_channel *channel, char *number, size_t size)
{
	SCOPED_CHANNELLOCK(lock, channel);
	const struct ast_party_number *caller = &ast_channel_caller(channel)->id.number;
	ast_copy_string(number, S_COR(caller->valid, caller->str, ""), size);
}

struct ast_channel *ai_shim_request(const char *technology, const char *resource, const char *id, const char *second_id, int *cause)
{
	const struct ast_assigned_ids ids = { .uniqueid = id, .uniqueid2 = second_id };
	struct ast_format_cap *any_audio = ast_format_cap_alloc(AST_FORMAT_CAP_FLAG_DEFAULT);
	struct ast_channel *channel = NULL;
	if (any_audio) {
		ast_format_cap_append_by_type(any_audio, AST_MEDIA_TYPE_AUDIO);
		channel = ast_request(technology, any_audio, &ids, NULL, resource, cause);
		ao2_ref(any_audio, -1);
	}
	return channel;
}

void ai_shim_call_from(struct ast_channel *channel, const char *number)
{
	ast_channel_lock(channel);
	ast_set_flag(ast_channel_flags(channel), AST_FLAG_ORIGINATED);
	ast_channel_appl_set(channel, "AppDial2");
	ast_channel_data_set(channel, "(Outgoing Line)");
	ast_channel_unlock(channel);
	if (!ast_strlen_zero(number)) {
		struct ast_party_connected_line connected;
		/* As every originated call has it: towards the called party the line's connected party is who calls. */
		ast_set_callerid(channel, number, NULL, number);
		ast_party_connected_line_set_init(&connected, ast_channel_connected(channel));
		connected.id.number.valid = 1;
		connected.id.number.str = (char *) number;
		connected.id.number.presentation = AST_PRES_ALLOWED_USER_NUMBER_NOT_SCREENED;
		ast_channel_set_connected_line(channel, &connected, NULL);
	}
}

void ai_shim_cause(struct ast_channel *channel, int *q850, char *code, size_t size)
{
	struct ast_control_pvt_cause_code *cause;
	SCOPED_CHANNELLOCK(lock, channel);
	*q850 = ast_channel_hangupcause(channel);
	*code = '\0';
	cause = ast_channel_dialed_causes_find(channel, ast_channel_name(channel));
	if (cause) {
		ast_copy_string(code, cause->code, size);
		ao2_ref(cause, -1);
	}
}

int ai_shim_is_forwarded(struct ast_channel *channel)
{
	SCOPED_CHANNELLOCK(lock, channel);
	return !ast_strlen_zero(ast_channel_call_forward(channel));
}

void ai_shim_go_to(struct ast_channel *channel, const char *context, const char *extension)
{
	SCOPED_CHANNELLOCK(lock, channel);
	ast_channel_context_set(channel, context);
	ast_channel_exten_set(channel, extension);
	ast_channel_priority_set(channel, 1);
}

void ai_shim_hold_channel(struct ast_channel *channel)
{
	ast_channel_ref(channel);
}

void ai_shim_release_channel(struct ast_channel *channel)
{
	ast_channel_unref(channel);
}

void ai_shim_hold_module(void)
{
	ast_module_ref(AST_MODULE_SELF);
}

void ai_shim_release_module(void)
{
	ast_module_unref(AST_MODULE_SELF);
}

void ai_shim_follow_log(void)
{
	ast_callid_threadassoc_add(ast_create_callid());
}

struct ast_format *ai_shim_phone_format(struct ast_channel *channel)
{
	SCOPED_CHANNELLOCK(lock, channel);
	return ao2_bump(ast_channel_rawreadformat(channel));
}

struct ast_format *ai_shim_read_format(struct ast_channel *channel)
{
	SCOPED_CHANNELLOCK(lock, channel);
	return ao2_bump(ast_channel_readformat(channel));
}

struct ast_format *ai_shim_write_format(struct ast_channel *channel)
{
	SCOPED_CHANNELLOCK(lock, channel);
	return ao2_bump(ast_channel_writeformat(channel));
}

/* Registered, so that a channel is internal from its first snapshot on: no record of a call, no event. */
static struct ast_channel_tech surrogate_tech = {
	.type = "AITool",
	.description = "Runs a routine of the dialplan for an AI()",
	.properties = AST_CHAN_TP_INTERNAL,
};

int ai_shim_register_surrogates(void)
{
	return ast_channel_register(&surrogate_tech);
}

void ai_shim_unregister_surrogates(void)
{
	ast_channel_unregister(&surrogate_tech);
}

void ai_shim_caller(struct ast_channel *channel, char *number, char *name, size_t size)
{
	SCOPED_CHANNELLOCK(lock, channel);
	struct ast_party_id *id = &ast_channel_caller(channel)->id;

	ast_copy_string(number, S_COR(id->number.valid, id->number.str, ""), size);
	ast_copy_string(name, S_COR(id->name.valid, id->name.str, ""), size);
}

void ai_shim_connected_number(struct ast_channel *channel, char *number, size_t size)
{
	SCOPED_CHANNELLOCK(lock, channel);
	const struct ast_party_number *connected = &ast_channel_connected(channel)->id.number;
	ast_copy_string(number, S_COR(connected->valid, connected->str, ""), size);
}

/* A tap, owned by its datastore: that keeps the module loaded, and moves with the hook when the channel gets another line. */
struct tap {
	struct ast_audiohook hook;
	struct ast_datastore *datastore;
	void *rust;
};

static void end_tap(struct tap *tap)
{
	void *rust = tap->rust;
	tap->rust = NULL;
	if (rust) {
		res_ai_bridge_tap_over(rust);
	}
}

static void destroy_tap(void *data)
{
	struct tap *tap = data;
	end_tap(tap);
	ast_audiohook_destroy(&tap->hook);
	ast_free(tap);
}

static void move_tap(void *data, struct ast_channel *from, struct ast_channel *to)
{
	struct tap *tap = data;
	if (tap->rust) {
		res_ai_bridge_tap_moved(tap->rust, to);
	}
}

static const struct ast_datastore_info tap_info = {
	.type = "AIAssist",
	.chan_fixup = move_tap,
	.destroy = destroy_tap,
};

/*
 * Has the hooks' translator of this direction made anew. It is kept for as long as the frames' format stays the same, and in
 * some builds of Asterisk drops all frames whose numbers are below those that it has seen. A frame without audio in a format
 * that is not its own replaces it, and reaches no hook; one of the two is not.
 */
static void refresh_translator(struct ast_channel *channel, enum ast_audiohook_direction direction)
{
	struct ast_format *formats[] = { ast_format_ulaw, ast_format_alaw };
	for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
		struct ast_frame blank = { .frametype = AST_FRAME_VOICE, .subclass.format = formats[i], .samples = 160, .src = "AIAssist" };
		ast_audiohook_write_list(channel, ast_channel_audiohooks(channel), direction, &blank);
	}
}

/* With the channel locked, if there is one. What it answers means: the frame is as it was, so nothing is encoded anew. */
static int tap_frame(struct ast_audiohook *hook, struct ast_channel *channel, struct ast_frame *frame, enum ast_audiohook_direction direction)
{
	struct tap *tap = (struct tap *) hook;

	if (hook->status == AST_AUDIOHOOK_STATUS_DONE) {
		/* Off its list for good: the channel hangs up, or the order given below is carried out. The core is done with it. */
		end_tap(tap);
		if (channel && !ast_channel_datastore_remove(channel, tap->datastore)) {
			ast_datastore_free(tap->datastore);
		}
		return 1;
	}
	if (channel && frame && frame->frametype == AST_FRAME_VOICE && frame->data.ptr && tap->rust) {
		int music = ast_test_flag(ast_channel_flags(channel), AST_FLAG_MOH) || ast_channel_hold_state(channel) == AST_CONTROL_HOLD;
		int own = direction == AST_AUDIOHOOK_DIRECTION_READ;
		switch (res_ai_bridge_tap_frame(tap->rust, own, frame->data.ptr, frame->datalen / sizeof(int16_t),
			ast_format_get_sample_rate(frame->subclass.format), ast_channel_is_bridged(channel), music)) {
		case AI_TAP_OFF:
			/* A hook must not be removed from within: the core takes it off before the next frame. */
			ast_audiohook_update_status(hook, AST_AUDIOHOOK_STATUS_SHUTDOWN);
			break;
		case AI_TAP_REFRESH:
			refresh_translator(channel, own ? AST_AUDIOHOOK_DIRECTION_WRITE : AST_AUDIOHOOK_DIRECTION_READ);
			break;
		}
	}
	return 1;
}

int ai_shim_tap(struct ast_channel *channel, void *rust)
{
	struct tap *tap = ast_calloc(1, sizeof(*tap));
	struct ast_datastore *datastore = tap ? ast_datastore_alloc(&tap_info, NULL) : NULL;

	if (!datastore) {
		ast_free(tap);
		res_ai_bridge_tap_over(rust);
		return -1;
	}
	ast_audiohook_init(&tap->hook, AST_AUDIOHOOK_TYPE_MANIPULATE, tap_info.type, AST_AUDIOHOOK_MANIPULATE_ALL_RATES);
	tap->hook.manipulate_callback = tap_frame;
	tap->rust = rust;
	tap->datastore = datastore;
	datastore->data = tap;

	SCOPED_CHANNELLOCK(lock, channel);
	if (ast_audiohook_attach(channel, &tap->hook)) {
		ast_datastore_free(datastore);
		return -1;
	}
	ast_channel_datastore_add(channel, datastore);
	return 0;
}

void ai_shim_untap(struct ast_channel *channel)
{
	SCOPED_CHANNELLOCK(lock, channel);
	struct ast_datastore *datastore;

	while ((datastore = ast_channel_datastore_find(channel, &tap_info, NULL))) {
		struct tap *tap = datastore->data;
		if (tap->rust) {
			res_ai_bridge_tap_dismissed(tap->rust);
		}
		ast_audiohook_remove(channel, &tap->hook);
		ast_channel_datastore_remove(channel, datastore);
		ast_datastore_free(datastore);
	}
}

int ai_shim_tapped(struct ast_channel *channel, char *id, size_t size)
{
	SCOPED_CHANNELLOCK(lock, channel);
	struct ast_datastore *datastore = ast_channel_datastore_find(channel, &tap_info, NULL);
	struct tap *tap = datastore ? datastore->data : NULL;

	return tap && tap->rust && res_ai_bridge_tap_session(tap->rust, id, size);
}

void ai_shim_variable(struct ast_channel *channel, const char *variable, char *value, size_t size)
{
	SCOPED_CHANNELLOCK(lock, channel);
	ast_copy_string(value, S_OR(pbx_builtin_getvar_helper(channel, variable), ""), size);
}

struct ast_channel *ai_shim_surrogate(struct ast_channel *call, const char *session, unsigned int number)
{
	char caller[AST_MAX_EXTENSION], name[AST_MAX_EXTENSION];
	struct ast_channel *surrogate;
	struct ast_var_t *variable, *copy;

	ai_shim_caller(call, caller, name, sizeof(caller));
	/* The call is not locked here: the list of channels is, and whoever walks it locks channels. */
	surrogate = ast_channel_alloc(1, AST_STATE_UP, caller, name, NULL, NULL, NULL, NULL, call, AST_AMA_NONE,
		"AITool/%s-%u", session, number);
	if (!surrogate) {
		return NULL;
	}
	ast_channel_unlock(surrogate);
	/* Nobody else knows the surrogate, so no other order of locks is possible. */
	ast_channel_lock(call);
	ast_channel_lock(surrogate);
	ast_channel_language_set(surrogate, ast_channel_language(call));
	AST_LIST_TRAVERSE(ast_channel_varshead(call), variable, entries) {
		copy = ast_var_assign(ast_var_full_name(variable), ast_var_value(variable));
		if (copy) {
			AST_LIST_INSERT_TAIL(ast_channel_varshead(surrogate), copy, entries);
		}
	}
	ast_channel_unlock(surrogate);
	ast_channel_unlock(call);
	return surrogate;
}

static int load_module(void)
{
	return res_ai_bridge_load();
}

static int unload_module(void)
{
	return res_ai_bridge_unload();
}

static int reload_module(void)
{
	return res_ai_bridge_reload();
}

/* Runs when the file is opened, before Asterisk refuses a module of other build options without a word of what to do. */
static void __attribute__((constructor)) compare_build_options(void)
{
	if (strcmp(AST_BUILDOPTS, ast_get_build_opts())) {
		ast_log(LOG_ERROR, "res_ai_bridge.so was built for an Asterisk with the options '%s', and this one has '%s'. Install the "
			"headers of this Asterisk (Debian: asterisk-dev), and build the module again: make clean && make && make install\n",
			AST_BUILDOPTS, ast_get_build_opts());
	}
}

AST_MODULE_INFO(ASTERISK_GPL_KEY, AST_MODFLAG_LOAD_ORDER, "AI(): phone calls talk to a realtime voice AI",
	.support_level = AST_MODULE_SUPPORT_EXTENDED,
	.load = load_module,
	.unload = unload_module,
	.reload = reload_module,
	.load_pri = AST_MODPRI_DEFAULT,
	.optional_modules = "codec_resample",
);
