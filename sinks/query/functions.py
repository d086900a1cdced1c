"""The functions that a query may call. Whatever is not listed is refused, also what a later DuckDB adds.

Left out on purpose: whatever reads files, settings, catalogues, variables or statistics (read_*, glob, query*,
current_setting, getvariable, stats, duckdb_*, pragma_*), writes or waits (write_log, setseed, nextval, sleep_ms), runs
SQL of its own (json_execute_serialized_sql), and what makes much out of nothing, or takes the product of two texts, in
one call that cannot be interrupted (range, generate_series, repeat, list_resize, bar, levenshtein and its like).
"""

AGGREGATES = """
    any_value approx_count_distinct approx_quantile approx_top_k arbitrary arg_max arg_max_null arg_min arg_min_null
    argmax argmin array_agg avg bit_and bit_or bit_xor bool_and bool_or corr count count_if count_star countif covar_pop
    covar_samp entropy favg first fsum geomean geometric_mean group_concat histogram kahan_sum kurtosis kurtosis_pop
    last list listagg mad max max_by mean median min min_by mode product quantile quantile_cont quantile_disc regr_avgx
    regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy reservoir_quantile sem skewness
    stddev stddev_pop stddev_samp string_agg sum sumkahan var_pop var_samp variance wavg weighted_avg
    json_group_array json_group_object
"""
WINDOWS = """
    cume_dist dense_rank fill first_value lag last_value lead nth_value ntile percent_rank rank rank_dense row_number
"""
OPERATORS = """
    + - * / // % ** ^ & | ~ << >> || @ @> <@ && ^@ -> ->> ~~ !~~ ~~* !~~* ~~~ = != < <= > >=
    like_escape ilike_escape not_like_escape not_ilike_escape
"""
NUMBERS = """
    abs acos acosh add asin asinh atan atan2 atanh bin bit_count cbrt ceil ceiling cos cosh cot degrees divide even exp
    factorial fdiv floor fmod gamma gcd greatest greatest_common_divisor hex isfinite isinf isnan lcm least
    least_common_multiple lgamma ln log log10 log2 mod multiply nextafter pi pow power radians round round_even
    roundbankers sign signbit sin sinh sqrt subtract tan tanh to_base trunc xor equi_width_bins random
"""
TIMES = """
    age ago century current_date current_localtime current_localtimestamp current_timestamp date_add date_diff date_part
    date_sub date_trunc datediff datepart datesub datetrunc day dayname dayofmonth dayofweek dayofyear days_in_month
    decade epoch epoch_ms epoch_ns epoch_us era get_current_time get_current_timestamp hour isodow isoyear julian
    last_day make_date make_time make_timestamp make_timestamp_ms make_timestamp_ns make_timestamptz microsecond
    millennium millisecond minute month monthname nanosecond normalized_interval now quarter second strftime strptime
    time_bucket timezone timezone_hour timezone_minute to_centuries to_days to_decades to_hours to_microseconds
    to_millennia to_milliseconds to_minutes to_months to_quarters to_seconds to_timestamp to_weeks to_years today
    transaction_timestamp try_strptime week weekday weekofyear year yearweek
"""
TEXTS = """
    ascii base64 bit_length char_length character_length chr concat concat_ws contains decode encode ends_with
    format_bytes formatreadabledecimalsize formatreadablesize from_base64 from_hex hamming hash instr jaccard lcase
    left left_grapheme len length length_grapheme lower lpad ltrim md5 mismatches nfc_normalize octet_length ord
    overlay parse_dirname parse_dirpath parse_filename parse_path position prefix format printf regexp_escape
    regexp_extract regexp_extract_all regexp_full_match regexp_matches regexp_replace regexp_split_to_array replace
    reverse right right_grapheme rpad rtrim sha1 sha256 split split_part starts_with str_split str_split_regex
    string_split string_split_regex string_to_array strip_accents strlen strpos substr substring substring_grapheme
    suffix to_base64 to_hex translate trim ucase unhex unicode upper url_decode url_encode uuid gen_random_uuid
"""
NESTED = """
    apply array_aggr array_aggregate array_append array_apply array_cat array_concat array_contains array_distinct
    array_extract array_filter array_has array_has_all array_has_any array_indexof array_intersect array_length
    array_pop_back array_pop_front array_position array_prepend array_push_back array_push_front array_reduce
    array_reverse array_reverse_sort array_select array_slice array_sort array_to_string array_transform array_unique
    array_value array_where array_zip cardinality element_at filter flatten list_aggr list_aggregate list_any_value
    list_append list_apply list_avg list_bool_and list_bool_or list_cat list_concat list_contains list_count
    list_distinct list_element list_extract list_filter list_first list_has list_has_all list_has_any list_histogram
    list_indexof list_intersect list_last list_max list_median list_min list_mode list_pack list_position list_prepend
    list_product list_reduce list_reverse list_reverse_sort list_select list_slice list_sort list_stddev_pop
    list_stddev_samp list_string_agg list_sum list_transform list_unique list_value list_where list_zip map map_concat
    map_contains map_contains_entry map_contains_value map_entries map_extract map_extract_value map_from_entries
    map_keys map_values reduce row struct_concat struct_contains struct_extract struct_extract_at struct_has
    struct_insert struct_keys struct_pack struct_position struct_update struct_values unnest unpivot_list
"""
JSON = """
    array_to_json from_json from_json_strict json json_array json_array_length json_contains json_exists json_extract
    json_extract_path json_extract_path_text json_extract_string json_keys json_merge_patch json_object json_pretty
    json_quote json_structure json_transform json_transform_strict json_type json_valid json_value row_to_json to_json
"""
OTHERS = "alias coalesce if ifnull isnull nullif switch try_cast typeof"

ALLOWED: frozenset[str] = frozenset(
    f"{AGGREGATES} {WINDOWS} {OPERATORS} {NUMBERS} {TIMES} {TEXTS} {NESTED} {JSON} {OTHERS}".split()
)
# As a table: only lists of the row beside it.
TABLE_FUNCTIONS: frozenset[str] = frozenset({"unnest"})

# The functions whose result is as long as an argument says, and which argument that is.
LENGTH_ARGUMENT = {"lpad": 1, "rpad": 1, "to_base": 2}
LENGTH_MAX = 10_000
# Their first argument can ask for any width, so it must be a constant whose numbers are short.
FORMATS = frozenset({"format", "printf"})
FORMAT_DIGITS_MAX = 3

# Names that look like columns but are answered by the engine.
_PSEUDO = """
    current_catalog current_database current_query current_role current_schema current_schemas current_user
    session_user user
"""
PSEUDO_COLUMNS: frozenset[str] = frozenset(_PSEUDO.split())
