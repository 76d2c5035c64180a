{# A number as a double: only then does every engine divide it in the same way. #}
{% macro double(expression) -%}
cast({{ expression }} as {{ 'double precision' if target.type == 'postgres' else 'double' }})
{%- endmacro %}

{# The share of one count in another; null where there is nothing to share. #}
{% macro share(part, whole) -%}
{{ double(part) }} / nullif({{ double(whole) }}, 0)
{%- endmacro %}

{# A double to six decimals, half up, as an exact number. Engines differ in how they round a double that lies between
   two decimals, and not in floor, product and quotient. #}
{% macro rounded(expression) -%}
cast(floor(({{ expression }}) * 1000000 + 0.5) / 1000000 as numeric(18, 6))
{%- endmacro %}

{# The month of a date, as its first day. #}
{% macro month_of(expression) -%}
cast(date_trunc('month', {{ expression }}) as date)
{%- endmacro %}

{# Whole months from one first of a month to another. #}
{% macro months_between(earlier, later) -%}
cast((extract(year from {{ later }}) - extract(year from {{ earlier }})) * 12
    + extract(month from {{ later }}) - extract(month from {{ earlier }}) as bigint)
{%- endmacro %}

{# The commit of main that the gold tables are of. #}
{% macro main_hash() -%}
cast('{{ var("main_hash") }}' as {{ dbt.type_string() }})
{%- endmacro %}
